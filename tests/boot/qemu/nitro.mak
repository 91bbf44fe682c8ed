# The devices of the QEMU that boots enclave images; the machines select what they need.
CONFIG_NITRO_ENCLAVE=y
CONFIG_MICROVM=y
