;; Switches pin 13 on and off twice a second. Written by hand to show all a module needs: a memory, here
;; of one byte, and a tick.
(module
  (import "wasmbed" "gpio_write" (func $gpio_write (param $pin i32) (param $level i32) (result i32)))
  (import "wasmbed" "timer_set" (func $timer_set (param $interval_ms i32) (result i32)))
  (memory (export "memory") 1 1 (pagesize 1))
  (global $level (mut i32) (i32.const 0))
  (func (export "init") (result i32)
    (call $timer_set (i32.const 250)))
  (func (export "tick")
    (global.set $level (i32.xor (global.get $level) (i32.const 1)))
    (drop (call $gpio_write (i32.const 13) (global.get $level)))))
