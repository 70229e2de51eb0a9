;; Never comes back from its first tick: what a device has to survive.
(module
  (memory (export "memory") 1 1 (pagesize 1))
  (func (export "tick")
    (loop $forever (br $forever))))
