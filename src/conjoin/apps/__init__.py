"""What people and other programs meet: the command line and the demo. The only room that reads argv."""
