"""Driving on the device: dynamics, geometry and a simulator of logged or generated scenes."""
