/* Executes the instruction at pc; the previous one must have retired. */
static void step(struct cpu *cpu) { cpu->pc += decode(cpu, cpu->mem[cpu->pc]); }
