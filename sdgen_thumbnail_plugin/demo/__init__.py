"""The demonstration: the main job, live, with pictures it draws itself."""
