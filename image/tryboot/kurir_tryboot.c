// SPDX-License-Identifier: GPL-2.0
/*
 * Passes reboot "0 tryboot" on to the Raspberry Pi's firmware.
 *
 * Raspberry Pi's own kernels do this in drivers/firmware/raspberrypi.c; Linux, and with it Debian's kernel, does not. The flag
 * makes the firmware read the [tryboot] section of autoboot.txt on the next start, and only then
 * (https://www.raspberrypi.com/documentation/computers/config_txt.html#the-tryboot-filter).
 *
 * The "0" is the partition to start from: none, so that autoboot.txt decides. Its number is kept in the power management's reset
 * status, where those kernels write it at each restart (drivers/watchdog/bcm2835_wdt.c) and Linux leaves what was there: it is cleared here.
 */
#include <linux/io.h>
#include <linux/module.h>
#include <linux/notifier.h>
#include <linux/of.h>
#include <linux/of_address.h>
#include <linux/reboot.h>
#include <linux/string.h>
#include <soc/bcm2835/raspberrypi-firmware.h>

/* Set reboot flags, of the mailbox's property channel; bit 0 is tryboot. */
#define SET_REBOOT_FLAGS 0x00038064
#define TRYBOOT 1

/* The reset status. Its bits 0, 2, 4 ... 10 are the partition's number. Writes count only with the password. */
#define PM_RSTS 0x20
#define PM_RSTS_PARTITION 0x00000555
#define PM_PASSWORD 0x5a000000

static struct rpi_firmware *firmware;

/* udev loads the module where there is such a device: on a Pi, and nowhere else. */
static const struct of_device_id tryboot_devices[] = {
	{ .compatible = "raspberrypi,bcm2835-firmware" },
	{ }
};
MODULE_DEVICE_TABLE(of, tryboot_devices);

static int tryboot_notify(struct notifier_block *block, unsigned long action, void *command)
{
	u32 flags = TRYBOOT;
	int error;

	if (action != SYS_RESTART || !command || !strstr(command, "tryboot"))
		return NOTIFY_DONE;
	error = rpi_firmware_property(firmware, SET_REBOOT_FLAGS, &flags, sizeof(flags));
	if (error)
		pr_err("kurir_tryboot: the firmware refuses: %d; the slot that worked starts again\n", error);
	return NOTIFY_DONE;
}

static struct notifier_block tryboot = { .notifier_call = tryboot_notify };

/* At once, not at the restart: the watchdog's and a panic's ask nobody. The name is that which all boards' trees have. */
static void __init forget_partition(void)
{
	struct device_node *node = of_find_compatible_node(NULL, NULL, "brcm,bcm2835-pm-wdt");
	void __iomem *power = node ? of_iomap(node, 0) : NULL;

	of_node_put(node);
	if (!power) {
		pr_warn("kurir_tryboot: no power management; a restart goes to the partition of the last one\n");
		return;
	}
	writel((readl(power + PM_RSTS) & 0x00ffffff & ~PM_RSTS_PARTITION) | PM_PASSWORD, power + PM_RSTS);
	iounmap(power);
	pr_info("kurir_tryboot: a restart goes where autoboot.txt says\n");
}

static int __init tryboot_init(void)
{
	struct device_node *node = of_find_matching_node(NULL, tryboot_devices);
	int error;

	if (!node)
		return -ENODEV;
	firmware = rpi_firmware_get(node);
	of_node_put(node);
	if (!firmware)
		return -ENODEV;
	forget_partition();
	error = register_reboot_notifier(&tryboot);
	if (error)
		rpi_firmware_put(firmware);
	return error;
}

static void __exit tryboot_exit(void)
{
	unregister_reboot_notifier(&tryboot);
	rpi_firmware_put(firmware);
}

module_init(tryboot_init);
module_exit(tryboot_exit);

MODULE_DESCRIPTION("reboot \"0 tryboot\" for the Raspberry Pi's firmware");
MODULE_LICENSE("GPL");
