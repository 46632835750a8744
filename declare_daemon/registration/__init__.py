"""Registration: the steps a verified file takes in each catalogue, the threads they are called from, pauses, and copies that are placed."""
