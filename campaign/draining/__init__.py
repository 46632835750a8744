"""Which inputs still need work, for files others declared: asked of the catalogues' datasets, beside the engine's steps."""
