"""What a diffusion replica streams to the driver."""

from serve_app.errors import DarkroomError
from serve_app.messages import Progress
from serve_app.service.replicas import Generated

StreamEvent = Progress | Generated | DarkroomError
"""Any number of `Progress`, then one of the others, which ends the stream. `Generated.pixels` is a ray.ObjectRef."""
