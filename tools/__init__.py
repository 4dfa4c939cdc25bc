"""The machinery of the course: setting up, executing, checking and publishing the notebooks. Start at nb.py."""
