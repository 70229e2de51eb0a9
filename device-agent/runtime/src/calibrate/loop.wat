;; What `calibrate.rs` times: an endless mix of arithmetic, memory and calls, ended by its fuel.
(module
  (memory (export "memory") 64 64 (pagesize 1))
  (func $mix (param $x i32) (result i32)
    local.get $x
    local.get $x
    i32.const 13
    i32.shl
    i32.xor
    i32.const 1664525
    i32.mul
    i32.const 1013904223
    i32.add)
  (func (export "tick")
    (local $x i32)
    (loop $again
      (local.set $x (call $mix (local.get $x)))
      (i32.store (i32.and (local.get $x) (i32.const 60)) (local.get $x))
      (local.set $x (i32.xor (i32.load (i32.const 12)) (i32.shr_u (local.get $x) (i32.const 5))))
      (if (i32.lt_s (local.get $x) (i32.const 0))
        (then (local.set $x (i32.add (local.get $x) (i32.const 7)))))
      (br $again))))
