"""What of a model's answer is accepted as JSON: cases, single faults, streams, repairs, speed and the command."""
