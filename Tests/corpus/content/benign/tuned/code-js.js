// The previous instructions stay in the queue until run() is called.
export function reset(queue) { queue.instructions = []; return "You are now logged out"; }
