"""What only notebooks use: `lesson` (start, record, check), `plotting`, `playground`, `exercises`.

Nothing is imported here: `plotting` alone is also used by the command line, which needs neither widgets nor exercises.
"""

__all__ = ["exercises", "lesson", "playground", "plotting"]
