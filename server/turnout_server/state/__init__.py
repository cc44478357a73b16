"""What outlives the process: the snapshot of its state, and the journal of what happened since."""
