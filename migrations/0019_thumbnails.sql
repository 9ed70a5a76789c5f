-- Of a picture that has thumbnails, in pixels.
alter table binary_contents add column width integer, add column height integer;
