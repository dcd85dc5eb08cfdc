"""The command line: parse, call one library function, exit code."""
