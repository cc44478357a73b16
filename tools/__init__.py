"""What a repository needs beside its code: tools for tests, a base image, an inventory and an audit of what ships."""
