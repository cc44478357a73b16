"""Keeps the running sidecar in step with its configuration file.

Arrow line: file changed, or SIGHUP -> load, check, build aside -> swap in one step -> tell. What has faults is told,
and changes nothing.
"""
