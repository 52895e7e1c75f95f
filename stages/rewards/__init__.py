"""Rule rewards and text measures: pure functions on text, each in a file of its own."""
