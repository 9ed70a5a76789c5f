// Line icons on a 24 grid, drawn for this app.

const icon = (path: string) => () => (
  <svg class="icon" viewBox="0 0 24 24" width="20" height="20" aria-hidden="true" focusable="false">
    <path
      d={path}
      fill="none"
      stroke="currentColor"
      stroke-width="1.8"
      stroke-linecap="round"
      stroke-linejoin="round"
    />
  </svg>
);

export const HashIcon = icon("M9.5 4 7.5 20M16.5 4l-2 16M4.5 9h16M3.5 15h16");
export const LockIcon = icon(
  "M7 11V8a5 5 0 0 1 10 0v3M6 11h12a1 1 0 0 1 1 1v7a1 1 0 0 1-1 1H6a1 1 0 0 1-1-1v-7a1 1 0 0 1 1-1Z",
);
export const PlusIcon = icon("M12 5v14M5 12h14");
export const CloseIcon = icon("M6 6l12 12M18 6 6 18");
export const PeopleIcon = icon(
  "M9 11a3.5 3.5 0 1 0 0-7 3.5 3.5 0 0 0 0 7ZM2.5 20c.4-3.6 3-5.5 6.5-5.5s6.1 1.9 6.5 5.5M16 4.3a3.5 3.5 0 0 1 0 6.4M18 14.9c2 .7 3.2 2.4 3.5 5.1",
);
export const MenuIcon = icon("M4 7h16M4 12h16M4 17h16");
export const EditIcon = icon(
  "M4 20l1-4.2L16.2 4.6a1.5 1.5 0 0 1 2.1 0l1.1 1.1a1.5 1.5 0 0 1 0 2.1L8.2 19 4 20ZM14 7l3 3",
);
export const TrashIcon = icon(
  "M4.5 7h15M9.5 7V4.5h5V7M6.5 7l.9 12.1a1 1 0 0 0 1 .9h7.2a1 1 0 0 0 1-.9L17.5 7M10.2 11v5M13.8 11v5",
);
export const SendIcon = icon("M5 12 4 4.5 20.5 12 4 19.5 5 12Zm0 0h7");
export const SettingsIcon = icon(
  "M4 8h9M17 8h3M4 16h3M11 16h9M13 8a2 2 0 1 0 4 0 2 2 0 0 0-4 0ZM7 16a2 2 0 1 0 4 0 2 2 0 0 0-4 0Z",
);
export const SignOutIcon = icon("M14 4h4a1 1 0 0 1 1 1v14a1 1 0 0 1-1 1h-4M10 16l-4-4 4-4M6.5 12H15");
export const DownIcon = icon("M12 5v14M6 13l6 6 6-6");
export const UpIcon = icon("M12 19V5M6 11l6-6 6 6");
export const ReplyIcon = icon("M9.5 6 4 11.5 9.5 17M4.5 11.5H14a6 6 0 0 1 6 6V19");
export const SmileIcon = icon(
  "M12 20.5a8.5 8.5 0 1 0 0-17 8.5 8.5 0 0 0 0 17ZM8.5 14.2c.8 1.2 2 1.9 3.5 1.9s2.7-.7 3.5-1.9M9 9.6h.01M15 9.6h.01",
);
export const SearchIcon = icon("M11 18a7 7 0 1 0 0-14 7 7 0 0 0 0 14ZM16.2 16.2l4.3 4.3");
export const CalendarIcon = icon(
  "M6 6h12a1 1 0 0 1 1 1v12a1 1 0 0 1-1 1H6a1 1 0 0 1-1-1V7a1 1 0 0 1 1-1ZM5 10.5h14M9 3.5V7M15 3.5V7",
);
export const RetryIcon = icon("M19.5 12a7.5 7.5 0 1 1-2.4-5.5M19.5 3.5v4h-4");
export const ChatIcon = icon("M5 5h14a1 1 0 0 1 1 1v9a1 1 0 0 1-1 1h-7l-5 4v-4H5a1 1 0 0 1-1-1V6a1 1 0 0 1 1-1Z");
export const BellIcon = icon("M6 17h12l-1.3-2.2V10a4.7 4.7 0 0 0-9.4 0v4.8L6 17ZM10 20a2.2 2.2 0 0 0 4 0");
export const MoreIcon = icon(
  "M5 12a.6.6 0 1 0 1.2 0A.6.6 0 0 0 5 12ZM11.4 12a.6.6 0 1 0 1.2 0 .6.6 0 0 0-1.2 0ZM17.8 12a.6.6 0 1 0 1.2 0 .6.6 0 0 0-1.2 0Z",
);
export const ShieldIcon = icon("M12 3.5 5 6v5.5c0 4.3 2.8 7.3 7 9 4.2-1.7 7-4.7 7-9V6l-7-2.5ZM9 11.8l2.2 2.2 4-4.2");
export const WarningIcon = icon("M12 4.5 3.5 19h17L12 4.5ZM12 10.5v3.8M12 16.8h.01");
export const AttachIcon = icon(
  "m19.5 11.5-7.6 7.6a5 5 0 0 1-7-7l8-8a3.3 3.3 0 0 1 4.7 4.6l-7.9 8a1.7 1.7 0 0 1-2.4-2.4l7.2-7.2",
);
export const DownloadIcon = icon("M12 4v11M7 10.5l5 5 5-5M5 19.5h14");
export const OpenIcon = icon("M14 4.5h5.5V10M19 5l-8 8M10 5.5H5.5a1 1 0 0 0-1 1v12a1 1 0 0 0 1 1h12a1 1 0 0 0 1-1V14");
export const BackIcon = icon("M14.5 5 8 12l6.5 7");
export const NextIcon = icon("M9.5 5 16 12l-6.5 7");
const sheet = "M13.5 3.5H7a1 1 0 0 0-1 1v15a1 1 0 0 0 1 1h10a1 1 0 0 0 1-1V8l-4.5-4.5ZM13.5 3.5V8H18";
export const FileIcon = icon(sheet);
export const TextIcon = icon(`${sheet}M9 12.5h6M9 16h4`);
export const ArchiveIcon = icon(`${sheet}M11 7h.01M11 10h.01M10 13h2v4h-2z`);
export const ImageIcon = icon(
  "M5 4.5h14a1 1 0 0 1 1 1v13a1 1 0 0 1-1 1H5a1 1 0 0 1-1-1v-13a1 1 0 0 1 1-1ZM4.5 17l4.5-5 4 4.5 2.5-2.5 4 4M15.5 9.5h.01",
);
export const AudioIcon = icon(
  "M9 18V6l10-2v11.5M9 18a2.5 2.5 0 1 1-5 0 2.5 2.5 0 0 1 5 0ZM19 15.5a2.5 2.5 0 1 1-5 0 2.5 2.5 0 0 1 5 0Z",
);
export const VideoIcon = icon(
  "M4.5 6h10a1 1 0 0 1 1 1v10a1 1 0 0 1-1 1h-10a1 1 0 0 1-1-1V7a1 1 0 0 1 1-1ZM15.5 10.5l5-3v9l-5-3",
);

/** The app's logo: a disc with a speech bubble's tail. */
export const Logo = () => (
  <svg class="logo" viewBox="0 0 32 32" aria-hidden="true" focusable="false">
    <path d="M16 3a13 13 0 0 1 0 26H5.5a1.5 1.5 0 0 1-1.2-2.4l1.9-2.5A13 13 0 0 1 16 3Z" fill="var(--accent)" />
    <circle cx="16" cy="16" r="7.4" fill="none" stroke="var(--on-accent)" stroke-width="1.6" opacity=".45" />
    <circle cx="16" cy="16" r="3.4" fill="var(--on-accent)" />
  </svg>
);
