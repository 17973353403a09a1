"""What production is made of, really built and run: deselected from the suite, `make ops-image` runs it."""
