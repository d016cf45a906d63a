"""Tables and figures of papers, made anew: published numbers beside ours."""
