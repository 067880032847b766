"""What is asked for: the request, its defaults, the plug-ins it names, and the plan of its Jobs."""
