;; Traps in its third tick: what a device has to survive.
(module
  (import "wasmbed" "timer_set" (func $timer_set (param $interval_ms i32) (result i32)))
  (memory (export "memory") 1 1 (pagesize 1))
  (global $ticks (mut i32) (i32.const 0))
  (func (export "init") (result i32)
    (call $timer_set (i32.const 100)))
  (func (export "tick")
    (global.set $ticks (i32.add (global.get $ticks) (i32.const 1)))
    (if (i32.ge_u (global.get $ticks) (i32.const 3))
      (then unreachable))))
