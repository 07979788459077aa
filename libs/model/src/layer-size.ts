/** Least of a file system that Berth makes (a container's layer, a microVM's, a volume of containers), MiB: its journal and tables are in it. */
export const layerDiskMiB = 16;
