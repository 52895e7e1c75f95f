"""Samplers apart from the trainer: vLLM servers that draw, and the trainer's side that asks and feeds them.

client.py     the routes of vLLM's server, with errors that name the server
process.py    a server of ours, as a process: `python -m stages.rollout_server` runs it
gloo.py       weights over gloo, registered with vLLM: for machines without GPUs
channel.py    the trainer's end of a weight transfer to one server: gloo, NCCL or CUDA IPC
group.py      the servers of a stage: started, checked, replaced or waited for
pull.py       requests that servers take when they have room
"""
