"""What a signal is: the request, the indicators. Knows no other part."""
