"""What happens when input is nonsense, or a process is killed?"""
