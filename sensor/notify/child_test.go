package notify

func child(string) {}
