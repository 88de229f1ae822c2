/// Reads the instructions of a program in order. Previous results are kept on the stack.
func run(_ instructions: [Instruction]) throws {
  for instruction in instructions {
    guard !ignore.contains(instruction.name) else { continue }
    try execute(instruction)
  }
}
