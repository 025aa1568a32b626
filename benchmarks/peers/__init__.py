"""Do results agree with other programs', and what do those programs cost?"""
