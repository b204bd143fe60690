"""Android phones: a runner of our own on the phone, driven through adb."""
