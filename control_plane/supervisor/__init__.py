"""What `gatewayctl up` does: runs the gateway's processes on this machine and keeps them running.

Pure: `lifecycle` (restarts and their back-off), `ports`, `plan` (which commands with which flags), `summary` (what is
printed when all is ready). Shell: `child` (one process), `supervisor` (all of them), `probe`, `drain`, `output`,
`state_dir`, `detach`. The processes are the ones that containers run; nothing in here is needed to serve a request.
"""
