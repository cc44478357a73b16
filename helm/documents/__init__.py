"""Makes what is written about the chart's values from where they are written: README.md and values.schema.json."""
