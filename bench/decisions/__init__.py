"""How good the decisions are: fault traces, played through Turnout, others, and one that knows the future."""
