"""Do results agree with other people's programs, and what do these cost?"""
