"""What happens when input is nonsense, a process is killed, or the code is wrong?"""
