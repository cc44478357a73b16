"""The pure core: it decides. Time and chance are arguments; nothing is awaited, logged or sent."""
