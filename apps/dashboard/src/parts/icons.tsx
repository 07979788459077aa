const paths = {
  overview: 'M2 2h5v5H2zM9 2h5v3H9zM9 7h5v7H9zM2 9h5v5H2z',
  instances: 'M2 3h12v4H2zM2 9h12v4H2zM4 5h1M4 11h1',
  images: 'M8 1l6 3.5v7L8 15l-6-3.5v-7zM2 4.5L8 8l6-3.5M8 8v7',
  networks: 'M8 2v4M3 10v3M13 10v3M3 10h10M8 6v4M6 2h4M1.500 13h3M11.500 13h3',
  volumes: 'M2 4c0-3 12-3 12 0v8c0 3-12 3-12 0zM2 4c0 3 12 3 12 0M2 8c0 3 12 3 12 0',
  secrets: 'M3.500 7h9v6.500h-9zM5.500 7V5a2.500 2.500 0 0 1 5 0v2M8 9.500v1.500',
  operations: 'M8 2a6 6 0 1 1-6 6M8 5v3l2 2M2 4v4h4',
  hosts: 'M3 2h10v12H3zM5 5h6M5 8h6M8 11.500h.01',
  tokens: 'M10 6a3.500 3.500 0 1 0-3 3.450L8 10.500h1.500V12H11v2h3v-2.500L9.700 7.300',
  sun: 'M8 5a3 3 0 1 1 0 6 3 3 0 0 1 0-6zM8 1v1.500M8 13.500V15M1 8h1.500M13.500 8H15M3 3l1 1M12 12l1 1M13 3l-1 1M4 12l-1 1',
  moon: 'M13.500 9.500A6 6 0 0 1 6.500 2.500a6 6 0 1 0 7 7z',
  auto: 'M2 3h12v8H2zM6 14h4M8 11v3',
  out: 'M9 2H3v12h6M7 8h7M11 5l3 3-3 3',
  plus: 'M8 3v10M3 8h10',
  play: 'M4 2.500l9 5.500-9 5.500z',
  stop: 'M3.500 3.500h9v9h-9z',
  restart: 'M13 8a5 5 0 1 1-1.500-3.500L13 6M13 2.500V6H9.500',
  power: 'M8 1.500v6M4.500 4a5 5 0 1 0 7 0',
  trash: 'M3 4h10M6 4V2.500h4V4M4.500 4l.5 9.500h6l.5-9.500',
  pause: 'M5 3v10M11 3v10',
  menu: 'M2 4h12M2 8h12M2 12h12',
  up: 'M8 13V3M4 7l4-4 4 4',
} as const;

export type IconName = keyof typeof paths;

export function Icon({ name }: { name: IconName }) {
  return (
    <svg className="icon" viewBox="0 0 16 16" aria-hidden="true">
      <path d={paths[name]} />
    </svg>
  );
}
