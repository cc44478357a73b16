"""The subcommands of `turnout`, one file each."""
