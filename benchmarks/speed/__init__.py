"""How fast is each part, how much memory does it take, and how fast is the usual method?"""
