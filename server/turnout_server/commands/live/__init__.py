"""What `turnout top` shows and how: what was read (`seen`, `feed`), rows of it (`…_rows`), and the two ways out: one
frame of plain text (`frame`), and the screen (`screen` and beside it), which alone needs Textual.
"""
