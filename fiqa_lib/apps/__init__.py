"""What people run: many photographs or one video in, rows, pages and tables out."""
