"""What is counted and read, and the page that shows it."""
