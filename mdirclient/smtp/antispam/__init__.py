"""What keeps unwanted mail out: blocking, greylisting, SPF."""
