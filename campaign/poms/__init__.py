"""The campaign under POMS: what is uploaded there, the launches it makes here, and how the two are kept in step."""
