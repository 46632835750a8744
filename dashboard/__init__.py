"""The web application: is processing keeping up, and is the detector well?"""
