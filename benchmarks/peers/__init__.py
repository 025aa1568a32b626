"""Do results agree with those of other programs, and what do those programs cost?"""
