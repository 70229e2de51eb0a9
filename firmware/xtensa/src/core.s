# Entry, vectors, and instructions that Rust has no words for: an Xtensa core with the exception option (XEA2),
# relocatable vectors and one timer (Xtensa ISA Reference Manual, chapter 4).
#
# CALL0 ABI: a0 is the return address, a1 the stack pointer, a2 to a7 are arguments, a2 the result; a callee
# keeps a1 and a12 to a15. Nothing uses register windows.

# What is kept of the program that was interrupted, `TrapFrame` in fault.rs.
        .set    FRAME_BYTES, 64
        .set    FRAME_SAR, 48
        .set    FRAME_PC, 52
        .set    FRAME_CAUSE, 56
        .set    FRAME_ADDRESS, 60
# EXCCAUSE of an interrupt of level 1.
        .set    LEVEL_1_INTERRUPT, 4

        .macro  function name
        .section .text.\name, "ax"
        .global \name
        .align  4
        .type   \name, @function
\name:
        .endm

# No code on the stack.
        .section .note.GNU-stack, "", @progbits

# First in the program: the reset jumps here.
        .section .vectors.reset, "ax"
        .global _vectors
_vectors:
        j       start
        .literal_position
        .align  4
start:
        # Interrupts, register windows and what is left of an exception off.
        movi    a2, 15
        wsr     a2, ps
        rsync
        movi    a2, 0
        wsr     a2, intenable
        # QEMU's counter goes on over a reset.
        wsr     a2, ccount
        esync
        movi    a2, _vectors
        wsr     a2, vecbase
        isync
        movi    a1, __thread_stack_start
        movi    a2, __sdata
        movi    a3, __edata
        movi    a4, __sidata
        j       2f
1:      l32i    a5, a4, 0
        s32i    a5, a2, 0
        addi    a4, a4, 4
        addi    a2, a2, 4
2:      bltu    a2, a3, 1b
        movi    a2, __sbss
        movi    a3, __ebss
        movi    a4, 0
        j       2f
1:      s32i    a4, a2, 0
        addi    a2, a2, 4
2:      bltu    a2, a3, 1b
        movi    a0, main
        jx      a0

# An interrupt, or an exception of the program.
        .section .vectors.kernel, "ax"
        wsr     a0, excsave1
        j       trap

# An exception of a handler.
        .section .vectors.double, "ax"
        wsr     a0, excsave1
        j       double

# Handlers have their own stack: that of the program may have overflowed. They run with PS.EXCM set, so nothing
# interrupts them, and the frame always lies at the same place.
        .section .vectors.trap, "ax"
        .literal_position
        .align  4
trap:
        movi    a0, __handler_stack_start - FRAME_BYTES
        s32i    a1, a0, 4
        mov     a1, a0
        s32i    a2, a1, 8
        rsr     a2, exccause
        bnei    a2, LEVEL_1_INTERRUPT, 1f
        rsr     a2, excsave1
        s32i    a2, a1, 0
        s32i    a3, a1, 12
        s32i    a4, a1, 16
        s32i    a5, a1, 20
        s32i    a6, a1, 24
        s32i    a7, a1, 28
        s32i    a8, a1, 32
        s32i    a9, a1, 36
        s32i    a10, a1, 40
        s32i    a11, a1, 44
        rsr     a2, sar
        s32i    a2, a1, FRAME_SAR
        movi    a0, on_interrupt
        callx0  a0
        l32i    a2, a1, FRAME_SAR
        wsr     a2, sar
        l32i    a0, a1, 0
        l32i    a2, a1, 8
        l32i    a3, a1, 12
        l32i    a4, a1, 16
        l32i    a5, a1, 20
        l32i    a6, a1, 24
        l32i    a7, a1, 28
        l32i    a8, a1, 32
        l32i    a9, a1, 36
        l32i    a10, a1, 40
        l32i    a11, a1, 44
        l32i    a1, a1, 4
        rfe
1:      rsr     a3, epc1
        j       exception
double:
        movi    a0, __handler_stack_start - FRAME_BYTES
        s32i    a1, a0, 4
        mov     a1, a0
        rsr     a3, depc
exception:
        s32i    a3, a1, FRAME_PC
        rsr     a2, excsave1
        s32i    a2, a1, 0
        rsr     a2, exccause
        s32i    a2, a1, FRAME_CAUSE
        rsr     a2, excvaddr
        s32i    a2, a1, FRAME_ADDRESS
        mov     a2, a1
        movi    a0, on_exception
        callx0  a0

# What the compiler calls where nothing must go on.
        function abort
        ill

# Masks all interrupts; returns PS as it was.
        function disable_interrupts
        rsil    a2, 15
        ret

# Writes PS.
        function restore_interrupts
        wsr     a2, ps
        rsync
        ret

# Unmasks interrupts and sleeps until one comes, in one step.
        function wait_for_interrupt
        waiti   0
        ret

# Lets these interrupts come, and no others.
        function enable_interrupts
        wsr     a2, intenable
        rsync
        ret

# Interrupts that are enabled and pending.
        function pending_interrupts
        rsr     a2, interrupt
        rsr     a3, intenable
        and     a2, a2, a3
        ret

# Cycles since the program started, modulo 2^32.
        function cycle_count
        rsr     a2, ccount
        ret

# Makes the timer's interrupt come at this count, and withdraws one that is pending.
        function set_compare
        wsr     a2, ccompare0
        esync
        ret

# Calls a3 with the argument a2, on the stack that ends at a4.
        function call_on_stack
        addi    a4, a4, -16
        s32i    a0, a4, 0
        s32i    a12, a4, 4
        mov     a12, a1
        mov     a1, a4
        callx0  a3
        mov     a4, a12
        l32i    a0, a1, 0
        l32i    a12, a1, 4
        mov     a1, a4
        ret

        function stack_pointer
        mov     a2, a1
        ret

# Jumps to code that was written as data.
        function jump
        isync
        jx      a2
